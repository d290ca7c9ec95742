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

variable "dead_letters" {
  type        = string
  description = "Name of the subscription of the dead letters."
}

variable "services" {
  type        = map(string)
  description = "Names of the Cloud Run services, api and dashboard; none while serving is off."
}
