variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Region of the job and its schedule."
}

variable "bucket" {
  type        = string
  description = "Bucket of landing and batch files."
}

variable "memory" {
  type        = string
  description = "Memory of the container, its files included: they lie in memory."
}

variable "period" {
  type        = string
  description = "How often a snapshot is taken: daily or hourly."
}

variable "inbox" {
  type        = bool
  description = "Whether a file below inbox/ of the bucket starts the job."
}

variable "channel" {
  type        = string
  description = "Notification channel that is told of a failed execution."
}

variable "deployer" {
  type        = string
  description = "IAM member that replaces the image."
}

variable "labels" {
  type        = map(string)
  description = "Labels, by which the cost of the job is found."
}
