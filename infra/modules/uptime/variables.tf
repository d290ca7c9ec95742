variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Region of the service."
}

variable "service" {
  type        = string
  description = "Name of the service of the API."
}

variable "url" {
  type        = string
  description = "Its address."
}
