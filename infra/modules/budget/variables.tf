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
  description = "Units of the currency a month."
}

variable "currency" {
  type        = string
  description = "Currency of the billing account, such as USD."
}

variable "channel" {
  type        = string
  description = "Notification channel of the warnings."
}
