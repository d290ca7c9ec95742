variable "project" {
  type        = string
  description = "Id of the project."
}

variable "name" {
  type        = string
  description = "Name of the secret."
}

variable "readers" {
  type        = map(string)
  description = "IAM members that may read its value."
}
