output "emails" {
  description = "E-mail addresses of the accounts: stream and publisher."
  value       = { for name, account in google_service_account.account : name => account.email }
}

output "names" {
  description = "Names by which the alerts find what they watch: topic, windows, landing and publisher."
  value = {
    topic     = google_pubsub_topic.trades.name
    windows   = google_pubsub_subscription.windows.name
    landing   = google_pubsub_subscription.landing.name
    publisher = google_cloud_run_v2_worker_pool.publisher.name
  }
}
