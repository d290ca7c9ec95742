variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Region of the builds."
}

variable "github" {
  type = object({
    owner = string
    name  = string
  })
  description = "Repository that deploys."
}

variable "deploys_from" {
  type        = string
  description = "Who starts a release: trigger (Cloud Build) or actions (GitHub); the other one does not, or each commit is released twice."
}

variable "service_account" {
  type        = string
  description = "Full resource name of the account of the builds."
}

variable "substitutions" {
  type        = map(string)
  description = "Substitutions of cloudbuild.yaml."
}
