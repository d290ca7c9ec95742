resource "google_artifact_registry_repository" "images" {
  #checkov:skip=CKV_GCP_84:The images hold public code; Google's own keys encrypt them
  project       = var.project
  location      = var.region
  repository_id = "coinbeam"
  format        = "DOCKER"
  description   = "Images of the Beam jobs and of serving, one tag a release"

  # Each image that is pushed, once; Google goes on looking for new holes in it for a month.
  # Source: https://cloud.google.com/artifact-analysis/docs/container-scanning-overview
  vulnerability_scanning_config {
    enablement_config = var.scan ? "INHERITED" : "DISABLED" # inherited from the API, which is switched on
  }

  cleanup_policies {
    id     = "keep-newest"
    action = "KEEP"

    most_recent_versions {
      keep_count = 10 # releases that can be gone back to
    }
  }

  cleanup_policies {
    id     = "delete-old"
    action = "DELETE"

    condition {
      tag_state  = "ANY"
      older_than = "7776000s" # 90 days
    }
  }
}

resource "google_artifact_registry_repository_iam_member" "writer" {
  for_each = var.writers

  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.writer"
  member     = each.value
}

resource "google_artifact_registry_repository_iam_member" "reader" {
  for_each = var.readers

  project    = var.project
  location   = var.region
  repository = google_artifact_registry_repository.images.name
  role       = "roles/artifactregistry.reader"
  member     = each.value
}
