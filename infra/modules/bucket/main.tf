resource "google_storage_bucket" "data" {
  #checkov:skip=CKV_GCP_62:Access is recorded by Cloud Audit Logs; usage logs would need a bucket of their own
  #checkov:skip=CKV_GCP_78:Versioning is on below
  project                     = var.project
  name                        = var.name
  location                    = var.location
  storage_class               = "STANDARD"
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"
  force_destroy               = false # landing cannot be fetched again: the API answers only for now

  versioning {
    enabled = true
  }

  soft_delete_policy {
    retention_duration_seconds = 604800 # seven days, the shortest that is not none
  }

  # Landing is kept for ever and read only by a replay: the older, the colder.
  dynamic "lifecycle_rule" {
    for_each = { 30 = "NEARLINE", 90 = "COLDLINE", 365 = "ARCHIVE" }

    content {
      action {
        type          = "SetStorageClass"
        storage_class = lifecycle_rule.value
      }

      condition {
        age            = lifecycle_rule.key
        matches_prefix = ["landing/"]
      }
    }
  }

  # Batch files and Dataflow's own are made again from landing. What was staged is read by each worker that starts, in a streaming job after months, too:
  # it is kept as long as the image of the workers.
  dynamic "lifecycle_rule" {
    for_each = { "batches/" = 30, "dataflow/temp/" = 7, "dataflow/staging/" = 90, "builds/" = 7 }

    content {
      action {
        type = "Delete"
      }

      condition {
        age            = lifecycle_rule.value
        matches_prefix = [lifecycle_rule.key]
        with_state     = "LIVE"
      }
    }
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }

    condition {
      days_since_noncurrent_time = 30
      with_state                 = "ARCHIVED"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }

    condition {
      age = 1
    }
  }
}

# Airflow and the workers write, list and replace objects; neither may change who has access.
resource "google_storage_bucket_iam_member" "writer" {
  for_each = var.writers

  bucket = google_storage_bucket.data.name
  role   = "roles/storage.objectUser"
  member = each.value
}

# Dataflow looks at the bucket itself before it stages files.
resource "google_storage_bucket_iam_member" "bucket_reader" {
  for_each = var.writers

  bucket = google_storage_bucket.data.name
  role   = "roles/storage.legacyBucketReader"
  member = each.value
}

# A deployment writes templates and the sources of builds; it never touches landing.
resource "google_storage_bucket_iam_member" "deployer" {
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.objectUser"
  member = var.deployer

  condition {
    title       = "releases and builds only"
    description = "Objects below releases/ and builds/"
    expression = join(" || ", [
      "resource.type != \"storage.googleapis.com/Object\"",
      "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.data.name}/objects/releases/\")",
      "resource.name.startsWith(\"projects/_/buckets/${google_storage_bucket.data.name}/objects/builds/\")",
    ])
  }
}

# `gcloud builds submit` looks at the bucket itself before it stages the source of a build there.
resource "google_storage_bucket_iam_member" "deployer_sees_bucket" {
  bucket = google_storage_bucket.data.name
  role   = "roles/storage.legacyBucketReader"
  member = var.deployer
}
