# Who starts a release, and who may sign in: the module of the builds alone.

mock_provider "google" {}

variables {
  project         = "my-project"
  region          = "us-central1"
  github          = { owner = "my-organisation", name = "coinbeam", id = 1002003004, owner_id = 5006007 }
  profile         = "composer"
  service_account = "projects/my-project/serviceAccounts/coinbeam-build@my-project.iam.gserviceaccount.com"
  substitutions   = { _REGION = "us-central1" }
}

run "where_github_deploys_there_is_no_trigger_and_its_substitutions_are_told_all_the_same" {
  command = plan

  module {
    source = "./modules/build"
  }

  variables {
    deploys_from = "actions"
  }

  assert {
    condition     = length(google_cloudbuild_trigger.release) == 0
    error_message = "Cloud Build refuses a trigger of a repository that it was not connected with."
  }

  assert {
    condition     = output.substitutions == tomap({ _PROFILE = "composer", _REGION = "us-central1" })
    error_message = "A build that is submitted by hand or by GitHub Actions needs them."
  }
}

run "without_a_repository_nobody_signs_in_from_outside" {
  command = plan

  module {
    source = "./modules/build"
  }

  variables {
    github       = null
    deploys_from = "actions"
  }

  assert {
    condition     = length(google_iam_workload_identity_pool.github) + length(google_iam_workload_identity_pool_provider.github) + length(google_service_account_iam_member.actions) == 0
    error_message = "There is no repository that could deploy."
  }

  assert {
    condition     = output.workload_identity_provider == null
    error_message = "There is no provider to sign in with."
  }
}

run "where_cloud_build_deploys_its_trigger_is_on" {
  command = plan

  module {
    source = "./modules/build"
  }

  variables {
    deploys_from = "trigger"
  }

  assert {
    condition     = [for trigger in google_cloudbuild_trigger.release : trigger.substitutions] == [tomap({ _REGION = "us-central1" })]
    error_message = "One trigger, with the same substitutions and no profile: a build refuses what it does not use."
  }

  assert {
    condition     = [for trigger in google_cloudbuild_trigger.release : trigger.filename] == ["cloudbuild.yaml"]
    error_message = "It builds a release of the large profile."
  }
}

run "in_the_small_profile_the_trigger_builds_its_release" {
  command = plan

  module {
    source = "./modules/build"
  }

  variables {
    deploys_from = "trigger"
    profile      = "small"
  }

  assert {
    condition     = [for trigger in google_cloudbuild_trigger.release : trigger.filename] == ["cloudbuild.small.yaml"]
    error_message = "It builds a release of the small profile."
  }
}
