output "bucket" {
  description = "Bucket of the state, which lies in another project."
  value       = data.google_storage_bucket.state.name
}
