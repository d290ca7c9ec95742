# What the variables refuse: each of these would otherwise fail half-way through an apply, or open the project.

mock_provider "google" {}

variables {
  project         = "my-project"
  billing_account = "012345-6789AB-CDEF01"
  alert_email     = "data-team@example.com"
  github          = { owner = "my-organisation", name = "coinbeam" }
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
