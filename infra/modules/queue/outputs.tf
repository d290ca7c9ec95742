output "dead_letter_subscription" {
  description = "Name of the subscription that holds what could not be processed."
  value       = google_pubsub_subscription.dead.name
}
