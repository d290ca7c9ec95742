variable "project" {
  type        = string
  description = "Id of the project."
}

variable "location" {
  type        = string
  description = "Location of the datasets."
}

variable "tables" {
  type = map(object({
    dataset               = string
    name                  = string
    description           = string
    labels                = map(string)
    clustering            = list(string)
    partition_column      = optional(string)
    partition_granularity = string
    primary_key           = list(string)
    columns = list(object({
      name        = string
      type        = string
      mode        = string
      description = string
    }))
  }))
  description = "Tables by dataset.table, from the contracts."
}

variable "writers" {
  type        = map(string)
  description = "E-mail addresses of the accounts that write every dataset."
}

variable "job_account" {
  type        = string
  description = "E-mail address of the account of the jobs, which settle the ledger in crypto_ops; null: the jobs run as a writer."
}

variable "reader" {
  type        = string
  description = "E-mail address of the account that reads the marts."
}

variable "reader_group" {
  type        = string
  description = "E-mail address of the group that reads the marts, or null."
}
