# The live trades alone: what a window needs of its subscription, and who may do what with it.

mock_provider "google" {
  mock_data "google_project" {
    defaults = {
      number = "123456789012"
    }
  }
}

variables {
  project    = "my-project"
  region     = "us-central1"
  bucket     = "my-project-coinbeam"
  datasets   = { crypto_data = "crypto_data", crypto_ops = "crypto_ops" }
  repository = "coinbeam"
  image      = "us-central1-docker.pkg.dev/my-project/coinbeam/serving:abc1234"
  operator   = "serviceAccount:coinbeam-composer@my-project.iam.gserviceaccount.com"
}

run "a_start_can_read_again_what_was_acknowledged" {
  command = plan

  module {
    source = "./modules/stream"
  }

  assert {
    condition     = google_pubsub_subscription.windows.retain_acked_messages
    error_message = "A start seeks to before the oldest window that is not whole."
  }

  assert {
    condition     = tonumber(trimsuffix(google_pubsub_subscription.windows.message_retention_duration, "s")) > 24 * 3600
    error_message = "Windows take trades for a day."
  }

  assert {
    condition     = length(google_pubsub_subscription.windows.dead_letter_policy) == 0 && length(google_pubsub_subscription.windows.expiration_policy) == 1
    error_message = "Dataflow supports no dead letter policy, and a pause of the job must not delete the subscription."
  }

  assert {
    condition = google_storage_bucket_iam_member.agent_lands.member == (
      "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
    )
    error_message = "Pub/Sub itself lands the trades."
  }
}

run "there_is_one_publisher_and_it_follows_the_real_venue" {
  command = plan

  module {
    source = "./modules/stream"
  }

  assert {
    condition     = google_cloud_run_v2_worker_pool.publisher.scaling[0].manual_instance_count == 1
    error_message = "Two publishers would publish everything twice."
  }

  assert {
    condition = contains(
      [for env in google_cloud_run_v2_worker_pool.publisher.template[0].containers[0].env : "${env.name}=${env.value}"],
      "COINBEAM_STREAM__SOURCE=live",
    )
    error_message = "No made-up trade comes into the warehouse."
  }
}
