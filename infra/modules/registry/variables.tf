variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Region of the repository."
}

variable "scan" {
  type        = bool
  description = "Whether each image that is pushed is scanned for known holes."
}

variable "writers" {
  type        = map(string)
  description = "IAM members that push images."
}

variable "readers" {
  type        = map(string)
  description = "IAM members that pull images."
}
