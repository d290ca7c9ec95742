# What the variables refuse: each of these would otherwise fail half-way through an apply, or open the project.

mock_provider "google" {}
mock_provider "google-beta" {}

variables {
  project     = "my-project"
  alert_email = "data-team@example.com"
  github      = { owner = "my-organisation", name = "coinbeam", id = 1002003004, owner_id = 5006007 }
}

run "numbers_that_github_or_a_currency_does_not_have_are_refused" {
  command         = plan
  expect_failures = [var.github, var.budget]

  variables {
    github = { owner = "my-organisation", name = "coinbeam", id = 0, owner_id = 5006007 }
    budget = { billing_account = "012345-6789AB-CDEF01", amount = 600, currency = "dollars" }
  }
}

run "a_trigger_without_a_repository_is_refused" {
  command         = plan
  expect_failures = [var.deploys_from]

  variables {
    github       = null
    deploys_from = "trigger"
  }
}

run "a_project_number_is_no_id" {
  command         = plan
  expect_failures = [var.project]

  variables {
    project = "123456789012"
  }
}

run "an_unpinned_image_is_refused" {
  command         = plan
  expect_failures = [var.image_version]

  variables {
    image_version = "composer-3-airflow-3"
  }
}

run "the_world_may_not_open_airflow" {
  command         = plan
  expect_failures = [var.airflow_users]

  variables {
    airflow_users = ["allUsers"]
  }
}

run "a_public_range_prefix_is_refused" {
  command         = plan
  expect_failures = [var.network_range]

  variables {
    network_range = "10.0.0.0/8"
  }
}

run "there_are_two_periods" {
  command         = plan
  expect_failures = [var.schedule_period]

  variables {
    schedule_period = "weekly"
  }
}

run "there_are_two_profiles" {
  command         = plan
  expect_failures = [var.profile]

  variables {
    profile = "medium"
  }
}

run "the_small_profile_has_no_live_trades" {
  command         = plan
  expect_failures = [var.profile]

  variables {
    profile = "small"
    stream  = { release = "abc1234" }
  }
}

run "the_small_job_has_enough_memory" {
  command         = plan
  expect_failures = [var.small]

  variables {
    small = { memory = "1Gi" }
  }
}

run "a_plan_that_coingecko_does_not_sell_is_refused" {
  command         = plan
  expect_failures = [var.coingecko_plan]

  variables {
    coingecko_plan = "enterprise"
  }
}

run "nothing_is_served_and_nothing_budgeted_by_default" {
  command = plan

  assert {
    condition     = output.serving_urls == null && length(module.serving) == 0
    error_message = "There is neither an API nor a dashboard unless somebody asks for them."
  }

  assert {
    condition     = length(module.budget) == 0
    error_message = "A budget needs rights on the billing account, which few have."
  }

  assert {
    condition     = output.substitutions["_SERVING"] == "off"
    error_message = "No release builds an image for nobody."
  }
}

run "nothing_streams_by_default" {
  command = plan

  assert {
    condition     = length(module.stream) == 0 && output.substitutions["_STREAM_SERVICE_ACCOUNT"] == ""
    error_message = "There are no live trades unless somebody asks for them."
  }

  assert {
    condition     = output.deployment.google.stream_service_account == null
    error_message = "There is no account of a job that is not there."
  }
}

run "a_publisher_without_a_server_needs_its_image_all_the_same" {
  command = plan

  variables {
    stream = { release = "abc1234" }
  }

  assert {
    condition     = output.serving_urls == null && output.substitutions["_SERVING"] == "image"
    error_message = "Each release pushes the image of the publisher, and deploys no service."
  }
}

run "a_release_is_no_image" {
  command         = plan
  expect_failures = [var.stream]

  variables {
    stream = { release = "us-central1-docker.pkg.dev/acme/coinbeam/serving:abc1234" }
  }
}

run "the_world_may_not_call_the_api_unless_somebody_says_so" {
  command         = plan
  expect_failures = [var.serving]

  variables {
    serving = { release = "abc1234", invokers = ["allUsers"] }
  }
}

run "the_dashboard_is_never_open_behind_the_proxy" {
  command         = plan
  expect_failures = [var.serving]

  variables {
    serving = { release = "abc1234", viewers = ["allUsers"], public = true }
  }
}

run "a_sign_in_by_openid_connect_needs_its_secret" {
  command         = plan
  expect_failures = [var.serving]

  variables {
    serving = { release = "abc1234", sign_in = "oidc" }
  }
}
