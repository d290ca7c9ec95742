# The account as which Cloud Monitoring asks: made before it is given anything.
resource "google_project_service_identity" "monitoring" {
  provider = google-beta

  project = var.project
  service = "monitoring.googleapis.com"
}

# It may call the API and nothing else; it has no key, so that it gets none of the data.
resource "google_cloud_run_v2_service_iam_member" "monitoring" {
  project  = var.project
  location = var.region
  name     = var.service
  role     = "roles/run.invoker"
  member   = google_project_service_identity.monitoring.member
}

# A page without a key and without data, of the same process. An instance gets requests only after it has read a bundle, so that the page says that
# the bundle was there. Every five minutes from three places: docs/costs.md.
# Source: https://cloud.google.com/monitoring/uptime-checks#service-agent-auth
resource "google_monitoring_uptime_check_config" "api" {
  project          = var.project
  display_name     = "Coinbeam API"
  period           = "300s"
  timeout          = "60s" # the first answer after a pause waits for an instance
  selected_regions = ["USA"]

  http_check {
    path         = "/docs"
    port         = 443
    use_ssl      = true
    validate_ssl = true

    accepted_response_status_codes {
      status_class = "STATUS_CLASS_2XX"
    }

    service_agent_authentication {
      type = "OIDC_TOKEN"
    }
  }

  content_matchers {
    content = "Coinbeam"
    matcher = "CONTAINS_STRING"
  }

  monitored_resource {
    type = "uptime_url"

    labels = {
      project_id = var.project
      host       = trimprefix(var.url, "https://")
    }
  }

  depends_on = [google_cloud_run_v2_service_iam_member.monitoring]
}
