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
    owner    = string
    name     = string
    id       = number
    owner_id = number
  })
  description = "Repository that deploys, by name and by number; null: none does."
}

variable "deploys_from" {
  type        = string
  description = "Who starts a release: trigger (Cloud Build) or actions (GitHub); never both, or each commit is released twice."
}

variable "service_account" {
  type        = string
  description = "Full resource name of the account of the builds."
}

variable "profile" {
  type        = string
  description = "What a release is for: composer (cloudbuild.yaml) or small (cloudbuild.small.yaml)."
}

variable "substitutions" {
  type        = map(string)
  description = "Substitutions of the build of that profile, all that it cannot know and no others."
}
