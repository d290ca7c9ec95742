variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Region of the environment."
}

variable "image_version" {
  type        = string
  description = "Composer image with its Airflow."
}

variable "requirements_file" {
  type        = string
  description = "File of the packages that the image lacks, one pinned requirement a line."
}

variable "network" {
  type        = string
  description = "Id of the network."
}

variable "subnetwork" {
  type        = string
  description = "Id of the subnetwork."
}

variable "service_account" {
  type        = string
  description = "E-mail address of the account that Airflow runs as."
}

variable "deployer" {
  type        = string
  description = "IAM member that uploads releases into the environment's bucket."
}

variable "users" {
  type        = list(string)
  description = "IAM members that may open the Airflow UI."
}

variable "labels" {
  type        = map(string)
  description = "Labels, by which the cost of the environment is found."
}
