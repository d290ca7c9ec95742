variable "project" {
  type        = string
  description = "Id of the project."
}

variable "email" {
  type        = string
  description = "Address that alerts go to."
}

variable "freshness_config" {
  type        = string
  description = "Id of the scheduled query that fails on stale snapshots."
}

variable "composer" {
  type        = string
  description = "Name of the Composer environment; null where Airflow runs elsewhere."
}

variable "uptime_check" {
  type        = string
  description = "Id of the check that asks the API from outside; null while serving is off."
}

variable "services" {
  type        = map(string)
  description = "Names of the Cloud Run services, api and dashboard; none while serving is off."
}

variable "stream" {
  type = object({
    topic     = string
    windows   = string
    landing   = string
    publisher = string
  })
  description = "Names of the topic, its subscriptions and the publisher; null while there are no live trades."
}
