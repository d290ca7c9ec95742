data "google_project" "this" {
  project_id = var.project
}

locals {
  # Pub/Sub itself moves what cannot be processed: it publishes the dead letter, and acknowledges the message in its subscription.
  # Source: https://cloud.google.com/pubsub/docs/handling-failures#grant_forwarding_permissions
  agent = "serviceAccount:service-${data.google_project.this.number}@gcp-sa-pubsub.iam.gserviceaccount.com"
  week  = "604800s"
}

resource "google_pubsub_topic" "trades" {
  #checkov:skip=CKV_GCP_83:Trades are public; Google's own keys encrypt them
  project                    = var.project
  name                       = var.name
  message_retention_duration = "86400s"
}

resource "google_pubsub_topic" "dead" {
  #checkov:skip=CKV_GCP_83:Trades are public; Google's own keys encrypt them
  project = var.project
  name    = "${var.name}-dead"
}

resource "google_pubsub_subscription" "beam" {
  project                    = var.project
  name                       = "${var.name}-beam"
  topic                      = google_pubsub_topic.trades.id
  ack_deadline_seconds       = 60
  message_retention_duration = local.week
  enable_message_ordering    = false # windows are by event time, and trades carry their own id

  expiration_policy {
    ttl = "" # never: a pause of the job must not delete the subscription
  }

  retry_policy {
    minimum_backoff = "10s"
    maximum_backoff = "600s"
  }

  dead_letter_policy {
    dead_letter_topic     = google_pubsub_topic.dead.id
    max_delivery_attempts = 5
  }
}

# Without a subscription the dead letters would be lost.
resource "google_pubsub_subscription" "dead" {
  project                    = var.project
  name                       = "${var.name}-dead"
  topic                      = google_pubsub_topic.dead.id
  message_retention_duration = local.week

  expiration_policy {
    ttl = ""
  }
}

resource "google_pubsub_topic_iam_member" "agent_publishes_dead_letters" {
  project = var.project
  topic   = google_pubsub_topic.dead.name
  role    = "roles/pubsub.publisher"
  member  = local.agent
}

resource "google_pubsub_subscription_iam_member" "agent_takes_dead_letters" {
  project      = var.project
  subscription = google_pubsub_subscription.beam.name
  role         = "roles/pubsub.subscriber"
  member       = local.agent
}

# Beam reads the messages, and looks at the subscription for its watermark.
resource "google_pubsub_subscription_iam_member" "job" {
  for_each = toset(["roles/pubsub.subscriber", "roles/pubsub.viewer"])

  project      = var.project
  subscription = google_pubsub_subscription.beam.name
  role         = each.key
  member       = var.subscriber
}
