variable "project" {
  type        = string
  description = "Id of the project."
}

variable "region" {
  type        = string
  description = "Region of the services."
}

variable "bucket" {
  type        = string
  description = "Bucket that holds the bundle below serving/."
}

variable "image" {
  type        = string
  description = "Image that the services are made with; from then on releases replace it."
}

variable "invokers" {
  type        = list(string)
  description = "IAM members that may call the API."
}

variable "viewers" {
  type        = list(string)
  description = "IAM members that may open the dashboard."
}

variable "sign_in" {
  type        = string
  description = "How the dashboard knows who looks: iap (Identity-Aware Proxy) or oidc (OpenID Connect, by the dashboard itself)."
}

variable "oidc_secret" {
  type        = string
  description = "Id of the secret that holds Streamlit's secrets.toml; only for oidc."
}

variable "max_instances" {
  type        = number
  description = "Most instances of each service."
}

variable "memory" {
  type        = string
  description = "Memory of an instance, copies of the bundle's files included."
}

variable "deployer" {
  type        = string
  description = "IAM member that replaces the image."
}
