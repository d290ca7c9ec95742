variable "project" {
  type        = string
  description = "Id of the project."
}

variable "billing_account" {
  type        = string
  description = "Billing account of the project."
}

variable "amount" {
  type        = number
  description = "US dollars a month."
}

variable "channel" {
  type        = string
  description = "Notification channel of the warnings."
}
