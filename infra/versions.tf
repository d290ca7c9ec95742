terraform {
  required_version = ">= 1.9"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = "~> 6.50"
    }

    # For Identity-Aware Proxy in front of Cloud Run alone.
    google-beta = {
      source  = "hashicorp/google-beta"
      version = "~> 6.50"
    }
  }

  # Partial: bucket and prefix come from backend.hcl (see backend.hcl.example), since they differ between deployments.
  backend "gcs" {}
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = local.labels

  # Budgets and audit configuration are billed to, and their quota is taken from, this project and not that of the person who applies.
  user_project_override = true
  billing_project       = var.project
}

provider "google-beta" {
  project        = var.project
  region         = var.region
  default_labels = local.labels

  user_project_override = true
  billing_project       = var.project
}
