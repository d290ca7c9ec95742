variable "project" {
  type        = string
  description = "Id of the project."
}

variable "name" {
  type        = string
  description = "Name of the topic; the subscription and the dead letters are named after it."
}

variable "subscriber" {
  type        = string
  description = "IAM member of the job that reads the messages."
}
