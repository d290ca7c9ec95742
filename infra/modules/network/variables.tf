variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Region of the subnetwork."
}

variable "range" {
  type        = string
  description = "IPv4 range of the subnetwork."
}
