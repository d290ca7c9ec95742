# A file that a person puts below inbox/ starts the job with its name. Cloud Storage tells a topic, of this folder alone: what the job lands lies
# below landing/ and batches/, so that no run can start another one. A push subscription cannot call Cloud Run's API, which wants an access token,
# so a workflow does.

data "google_storage_project_service_account" "agent" {
  count = var.inbox ? 1 : 0

  project = var.project
}

resource "google_pubsub_topic" "inbox" {
  #checkov:skip=CKV_GCP_83:Names of files; Google's own keys encrypt them
  count = var.inbox ? 1 : 0

  project = var.project
  name    = "coinbeam-inbox"
}

resource "google_pubsub_topic_iam_member" "storage" {
  count = var.inbox ? 1 : 0

  project = var.project
  topic   = google_pubsub_topic.inbox[0].name
  role    = "roles/pubsub.publisher"
  member  = data.google_storage_project_service_account.agent[0].member
}

resource "google_storage_notification" "inbox" {
  count = var.inbox ? 1 : 0

  bucket             = var.bucket
  topic              = google_pubsub_topic.inbox[0].id
  payload_format     = "NONE" # the attributes name bucket and object
  event_types        = ["OBJECT_FINALIZE"]
  object_name_prefix = "inbox/"

  depends_on = [google_pubsub_topic_iam_member.storage]
}

resource "google_workflows_workflow" "inbox" {
  count = var.inbox ? 1 : 0

  project             = var.project
  region              = var.region
  name                = "coinbeam-inbox"
  description         = "Starts the job for a file of the inbox"
  service_account     = google_service_account.account["inbox"].id
  deletion_protection = false # it holds nothing

  source_contents = yamlencode({
    main = {
      params = ["event"]
      steps = [
        {
          name = {
            assign = [
              { object = "$${event.data.message.attributes.objectId}" },
              { uri = "$${\"gs://\" + event.data.message.attributes.bucketId + \"/\" + object}" },
            ]
          }
        },
        {
          # The notification is of this folder alone; a folder that somebody makes there is an empty object with a slash at its end.
          only_files = {
            switch = [
              { condition = "$${not(text.match_regex(object, \"^inbox/.*[^/]$\"))}", next = "end" },
            ]
          }
        },
        {
          start = {
            call = "googleapis.run.v2.projects.locations.jobs.run"
            args = {
              name = google_cloud_run_v2_job.batch.id
              body = { overrides = { containerOverrides = [{ args = ["job", "replay", "$${uri}"] }] } }
              # Started is enough: the workflow does not wait for the end.
              connector_params = { skip_polling = true }
            }
            result = "started"
          }
        },
      ]
    }
  })
}

resource "google_eventarc_trigger" "inbox" {
  count = var.inbox ? 1 : 0

  project         = var.project
  location        = var.region
  name            = "coinbeam-inbox"
  service_account = google_service_account.account["inbox"].email
  labels          = var.labels

  matching_criteria {
    attribute = "type"
    value     = "google.cloud.pubsub.topic.v1.messagePublished"
  }

  transport {
    pubsub {
      topic = google_pubsub_topic.inbox[0].id
    }
  }

  destination {
    workflow = google_workflows_workflow.inbox[0].id
  }

  depends_on = [google_project_iam_member.inbox]
}

# To be told of an event, and to start a workflow; both are resources of the project.
resource "google_project_iam_member" "inbox" {
  for_each = toset(var.inbox ? [
    "roles/eventarc.eventReceiver", # the trigger receives events as this account
    "roles/workflows.invoker",      # and starts the workflow as it
  ] : [])

  project = var.project
  role    = each.key
  member  = google_service_account.account["inbox"].member
}

# The job with other arguments, and nothing else.
resource "google_cloud_run_v2_job_iam_member" "inbox" {
  count = var.inbox ? 1 : 0

  project  = var.project
  location = var.region
  name     = google_cloud_run_v2_job.batch.name
  role     = "roles/run.jobsExecutorWithOverrides"
  member   = google_service_account.account["inbox"].member
}
