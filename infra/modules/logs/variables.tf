variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Region of the log bucket."
}

variable "retention_days" {
  type        = number
  description = "Days that logs are kept."
}
