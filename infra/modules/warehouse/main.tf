locals {
  internal = {
    crypto_data    = "Facts and dimensions; readers see them through crypto_marts"
    crypto_staging = "Tables of one batch each, before the audit; they expire"
    crypto_ops     = "Batches, rejects, quality results and the ledger of API calls"
  }

  # The views of crypto_marts read these two.
  shown_by_views = toset(["crypto_data", "crypto_ops"])

  # Jobs settle the ledger of API calls and touch nothing else of the warehouse.
  job_datasets = toset(["crypto_ops"])

  week = 7 * 24 * 60 * 60 * 1000
}

# Access is listed whole in each dataset: whatever is added by hand is removed by the next apply, and the defaults, which let every editor
# of the project write, do not hold. The legacy names are what the API keeps: OWNER, WRITER (roles/bigquery.dataEditor), READER
# (roles/bigquery.dataViewer). Source: https://cloud.google.com/bigquery/docs/reference/rest/v2/datasets#Dataset

resource "google_bigquery_dataset" "marts" {
  #checkov:skip=CKV_GCP_81:Market data is public; Google's own keys encrypt it
  project                    = var.project
  dataset_id                 = "crypto_marts"
  location                   = var.location
  description                = "What readers see: marts, and views over facts that they cannot read themselves"
  delete_contents_on_destroy = false

  access {
    role          = "OWNER"
    special_group = "projectOwners"
  }

  dynamic "access" {
    for_each = var.writers

    content {
      role          = "WRITER"
      user_by_email = access.value
    }
  }

  access {
    role          = "READER"
    user_by_email = var.reader
  }

  dynamic "access" {
    for_each = var.reader_group == null ? [] : [var.reader_group]

    content {
      role           = "READER"
      group_by_email = access.value
    }
  }
}

resource "google_bigquery_dataset" "internal" {
  #checkov:skip=CKV_GCP_81:Market data is public; Google's own keys encrypt it
  for_each = local.internal

  project                     = var.project
  dataset_id                  = each.key
  location                    = var.location
  description                 = each.value
  delete_contents_on_destroy  = false
  default_table_expiration_ms = each.key == "crypto_staging" ? local.week : null

  access {
    role          = "OWNER"
    special_group = "projectOwners"
  }

  dynamic "access" {
    for_each = var.writers

    content {
      role          = "WRITER"
      user_by_email = access.value
    }
  }

  dynamic "access" {
    for_each = contains(local.job_datasets, each.key) && var.job_account != null ? [var.job_account] : []

    content {
      role          = "WRITER"
      user_by_email = access.value
    }
  }

  # An authorised dataset: every view of crypto_marts, today's and tomorrow's, may read here on behalf of those who may not.
  dynamic "access" {
    for_each = contains(local.shown_by_views, each.key) ? [google_bigquery_dataset.marts.dataset_id] : []

    content {
      dataset {
        target_types = ["VIEWS"]

        dataset {
          project_id = var.project
          dataset_id = access.value
        }
      }
    }
  }
}

locals {
  datasets = merge(
    { (google_bigquery_dataset.marts.dataset_id) = google_bigquery_dataset.marts.dataset_id },
    { for dataset in google_bigquery_dataset.internal : dataset.dataset_id => dataset.dataset_id },
  )
}

resource "google_bigquery_table" "contract" {
  #checkov:skip=CKV_GCP_80:Market data is public; Google's own keys encrypt it
  for_each = var.tables

  project                  = var.project
  dataset_id               = local.datasets[each.value.dataset]
  table_id                 = each.value.name
  description              = each.value.description
  labels                   = each.value.labels
  clustering               = each.value.clustering
  require_partition_filter = each.value.partition_column == null ? null : true
  schema                   = jsonencode(each.value.columns)
  deletion_protection      = true

  dynamic "time_partitioning" {
    for_each = each.value.partition_column == null ? [] : [each.value.partition_column]

    content {
      type  = each.value.partition_granularity
      field = time_partitioning.value
    }
  }

  table_constraints {
    primary_key {
      columns = each.value.primary_key
    }
  }

  lifecycle {
    # A table is born with the columns of its contract. From then on columns belong to `coinbeam contracts apply`, which only adds: this
    # provider also drops columns in place, so an apply from an older checkout would erase data. Description and labels follow the
    # contract the same way, and the label contract_version is what a roll back goes by.
    ignore_changes = [schema, description, labels]
  }
}
