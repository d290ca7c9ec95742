variable "project" {
  type        = string
  description = "Id of the project that is deployed."
}

variable "bucket" {
  type        = string
  description = "Bucket of the state."
}
