variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Region of the publisher and of the registry."
}

variable "bucket" {
  type        = string
  description = "Bucket that trades are landed in, below landing/trades/."
}

variable "datasets" {
  type        = map(string)
  description = "Ids of the datasets by name; their tables are made before."
}

variable "repository" {
  type        = string
  description = "Name of the repository of the images."
}

variable "image" {
  type        = string
  description = "Image of the publisher, that of the API of the same release."
}

variable "operator" {
  type        = string
  description = "IAM member that starts, drains and seeks: Airflow."
}
