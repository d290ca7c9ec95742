variable "project" {
  type        = string
  description = "Id of the project."
}

variable "location" {
  type        = string
  description = "Location of the datasets."
}

variable "service_account" {
  type        = string
  description = "E-mail address of the account that the check reads as."
}

variable "period" {
  type        = string
  description = "How often a snapshot is taken: daily or hourly."
}

variable "hours" {
  type        = number
  description = "Age in hours from which a daily snapshot is stale, as its contract promises."
}

variable "view" {
  type        = string
  description = "dataset.view of prices with their instants."
}
