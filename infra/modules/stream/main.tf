data "google_project" "this" {
  project_id = var.project
}

locals {
  # Pub/Sub itself writes the objects of a Cloud Storage subscription.
  # Source: https://cloud.google.com/pubsub/docs/create-cloudstorage-subscription#assign_roles_service_agent
  agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"

  # The day in which a window takes trades, and an hour beside: whoever starts the pipeline reads that far back.
  retention = "90000s"

  # Tables, one by one: the job appends panes and refused lines, and merges panes into the fact.
  tables = {
    trade_window_fact = var.datasets["crypto_data"]
    trade_window_pane = var.datasets["crypto_ops"]
    rejected_record   = var.datasets["crypto_ops"]
  }

  accounts = {
    stream    = "Workers and launcher of the streaming job"
    publisher = "The publisher: follows the venue and publishes its trades"
  }

  # Below these names of the bucket an account writes: Dataflow's files and the job's reason of a failure, and the publisher's positions.
  prefixes = { stream = ["dataflow/", "stream/"], publisher = ["stream/"] }

  objects = "projects/_/buckets/${var.bucket}/objects/"
}

# The names and properties of topic and subscriptions are those that coinbeam/feeds/trades/topic.py makes on one machine; tests/infra compares.
resource "google_pubsub_topic" "trades" {
  #checkov:skip=CKV_GCP_83:Trades are public; Google's own keys encrypt them
  project = var.project
  name    = "trades"
}

# Neither a dead letter policy nor ordering: Dataflow supports neither, refused lines go to crypto_ops.rejected_record, and a window is a set.
# Source: https://cloud.google.com/dataflow/docs/concepts/streaming-with-cloud-pubsub#unsupported-features
resource "google_pubsub_subscription" "windows" {
  project                    = var.project
  name                       = "trade-windows"
  topic                      = google_pubsub_topic.trades.id
  ack_deadline_seconds       = 60
  retain_acked_messages      = true # a start seeks to before the oldest window that is not whole
  message_retention_duration = local.retention

  expiration_policy {
    ttl = "" # never: a pause of the job must not delete the subscription
  }
}

# What has a symbol lies in the bucket as lines: the batch of a day reads them again.
resource "google_pubsub_subscription" "landing" {
  project                    = var.project
  name                       = "trades-landing"
  topic                      = google_pubsub_topic.trades.id
  ack_deadline_seconds       = 60
  message_retention_duration = local.retention
  filter                     = "attributes:symbol" # no heartbeat, and no line that is no trade

  cloud_storage_config {
    bucket                   = var.bucket
    filename_prefix          = "landing/trades/"
    filename_suffix          = ".ndjson"
    filename_datetime_format = "YYYY/MM/DD/hh_mm_ssZ"
    max_duration             = "60s"
  }

  expiration_policy {
    ttl = ""
  }

  # Pub/Sub refuses a subscription whose objects it may not write.
  depends_on = [google_storage_bucket_iam_member.agent_lands, google_storage_bucket_iam_member.bucket_reader]
}

# Pub/Sub makes objects and never replaces one, so that landing stays as it was written.
resource "google_storage_bucket_iam_member" "agent_lands" {
  bucket = var.bucket
  role   = "roles/storage.objectCreator"
  member = local.agent

  condition {
    title       = "landed trades only"
    description = "Objects below landing/trades/"
    expression = join(" || ", [
      "resource.type != \"storage.googleapis.com/Object\"",
      "resource.name.startsWith(\"${local.objects}landing/trades/\")",
    ])
  }
}

resource "google_service_account" "account" {
  for_each = local.accounts

  project      = var.project
  account_id   = "coinbeam-${each.key}"
  display_name = "Coinbeam ${each.key}"
  description  = each.value
}

resource "google_storage_bucket_iam_member" "writer" {
  for_each = local.prefixes

  bucket = var.bucket
  role   = "roles/storage.objectUser"
  member = google_service_account.account[each.key].member

  condition {
    title       = "files of the stream only"
    description = "Objects below ${join(" and ", each.value)}"
    expression = join(" || ", concat(
      ["resource.type != \"storage.googleapis.com/Object\""],
      [for prefix in each.value : "resource.name.startsWith(\"${local.objects}${prefix}\")"],
    ))
  }
}

# Pub/Sub and Dataflow look at the bucket itself before they write.
resource "google_storage_bucket_iam_member" "bucket_reader" {
  for_each = { agent = local.agent, stream = google_service_account.account["stream"].member }

  bucket = var.bucket
  role   = "roles/storage.legacyBucketReader"
  member = each.value
}

# Roles that cannot be given on anything smaller than the project, each with its reason.
resource "google_project_iam_member" "stream" {
  for_each = toset([
    "roles/dataflow.worker",  # what Dataflow asks of the account of its workers
    "roles/bigquery.jobUser", # a merge is a query; jobs are resources of the project
  ])

  project = var.project
  role    = each.key
  member  = google_service_account.account["stream"].member
}

resource "google_bigquery_table_iam_member" "stream" {
  for_each = local.tables

  project    = var.project
  dataset_id = each.value
  table_id   = each.key
  role       = "roles/bigquery.dataEditor"
  member     = google_service_account.account["stream"].member
}

# The launcher and the workers pull their image.
resource "google_artifact_registry_repository_iam_member" "stream" {
  project    = var.project
  location   = var.region
  repository = var.repository
  role       = "roles/artifactregistry.reader"
  member     = google_service_account.account["stream"].member
}

# Beam reads the messages, and looks at the subscription for its watermark. Airflow seeks, and looks at what waits.
resource "google_pubsub_subscription_iam_member" "windows" {
  for_each = merge([
    for name, member in { stream = google_service_account.account["stream"].member, operator = var.operator } : {
      for role in ["roles/pubsub.subscriber", "roles/pubsub.viewer"] : "${name} ${role}" => { role = role, member = member }
    }
  ]...)

  project      = var.project
  subscription = google_pubsub_subscription.windows.name
  role         = each.value.role
  member       = each.value.member
}

# The time of an event is an attribute of ours, so that Dataflow makes a second subscription of the topic, of its own, and reads the watermark off it.
# It does so as the account of the job, and who makes subscriptions may do it in the whole project; no role of Google's is that small.
resource "google_project_iam_custom_role" "tracking" {
  project     = var.project
  role_id     = "coinbeamTracking"
  title       = "Coinbeam tracking"
  description = "The subscription that Dataflow makes for a watermark: made, read and deleted"
  permissions = [for verb in ["consume", "create", "delete", "get"] : "pubsub.subscriptions.${verb}"]
}

resource "google_project_iam_member" "tracking" {
  project = var.project
  role    = google_project_iam_custom_role.tracking.name
  member  = google_service_account.account["stream"].member
}

resource "google_pubsub_topic_iam_member" "stream" {
  project = var.project
  topic   = google_pubsub_topic.trades.name
  role    = "roles/pubsub.subscriber" # a subscription is attached to the topic
  member  = google_service_account.account["stream"].member
}

resource "google_pubsub_topic_iam_member" "publisher" {
  project = var.project
  topic   = google_pubsub_topic.trades.name
  role    = "roles/pubsub.publisher"
  member  = google_service_account.account["publisher"].member
}

# An update of the job takes a snapshot of the subscription, and seeks to it when the drain was wrong. Snapshots are made in the project, and no
# role of Google's is that small. Source: https://cloud.google.com/pubsub/docs/access-control#required_permissions
resource "google_project_iam_custom_role" "snapshots" {
  project     = var.project
  role_id     = "coinbeamSnapshots"
  title       = "Coinbeam snapshots"
  description = "Snapshots of subscriptions, and nothing else of Pub/Sub"
  permissions = [for verb in ["create", "delete", "get", "list", "seek"] : "pubsub.snapshots.${verb}"]
}

resource "google_project_iam_member" "operator" {
  project = var.project
  role    = google_project_iam_custom_role.snapshots.name
  member  = var.operator
}

# Airflow launches jobs that run as the account of the streaming job.
resource "google_service_account_iam_member" "operator_launches" {
  service_account_id = google_service_account.account["stream"].name
  role               = "roles/iam.serviceAccountUser"
  member             = var.operator
}

# The publisher asks the venue and is asked by nobody: a worker pool, always one instance. It goes on from its positions in the bucket, so that
# an instance that is replaced fetches from REST what it missed.
resource "google_cloud_run_v2_worker_pool" "publisher" {
  project             = var.project
  location            = var.region
  name                = "coinbeam-publisher"
  description         = "Trades of the venue, published"
  launch_stage        = "BETA"
  deletion_protection = false # it holds nothing

  scaling {
    manual_instance_count = 1
  }

  template {
    service_account = google_service_account.account["publisher"].email

    containers {
      image = var.image
      args  = ["stream", "publish"]

      resources {
        limits = { cpu = "1", memory = "1Gi" }
      }

      dynamic "env" {
        for_each = {
          COINBEAM_ENV             = "production"
          COINBEAM_GOOGLE__PROJECT = var.project
          COINBEAM_STORAGE__BUCKET = var.bucket
          COINBEAM_STREAM__SOURCE  = "live"
        }

        content {
          name  = env.key
          value = env.value
        }
      }
    }
  }

  # An instance that may not publish or read its positions ends at once.
  depends_on = [google_pubsub_topic_iam_member.publisher, google_storage_bucket_iam_member.writer]
}
