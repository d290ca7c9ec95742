variable "project" {
  type        = string
  description = "Id of the project."
}

variable "name" {
  type        = string
  description = "Name of the bucket."
}

variable "location" {
  type        = string
  description = "Location, that of the datasets."
}

variable "writers" {
  type        = map(string)
  description = "IAM members that write landing and batch files."
}

variable "deployer" {
  type        = string
  description = "IAM member that writes templates below releases/ and sources below builds/."
}
