# The alerts alone, where Airflow runs elsewhere and nothing is served or streamed: none on what is not there, and all others.

mock_provider "google" {}

variables {
  project          = "my-project"
  email            = "data-team@example.com"
  freshness_config = "freshness-check"
  composer         = null
  uptime_check     = null
  services         = {}
  stream           = null
}

run "no_alert_waits_for_what_is_not_there" {
  command = plan

  module {
    source = "./modules/alerts"
  }

  assert {
    condition     = toset(keys(google_monitoring_alert_policy.metric)) == toset(["job_failed", "scanned_much"])
    error_message = "Neither Composer nor a service nor a stream is watched."
  }

  assert {
    condition = alltrue([
      for policies in [google_monitoring_alert_policy.silent, google_monitoring_alert_policy.served, google_monitoring_alert_policy.counted] :
      length(policies) == 0
    ])
    error_message = "What is not there cannot fall silent, answer or count."
  }

  assert {
    condition     = contains(keys(google_monitoring_alert_policy.entry), "page_README") && !contains(keys(google_monitoring_alert_policy.entry), "page_stream")
    error_message = "A task that failed is told of wherever it runs."
  }
}
