variable "project" {
  type        = string
  description = "Id of the project."
}

variable "profile" {
  type        = string
  description = "composer: Airflow and Dataflow have accounts; small: they do not."
}
