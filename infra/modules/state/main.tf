# This module makes nothing: it refuses a state that the workers can reach. roles/dataflow.worker and roles/composer.worker, which both services ask
# for on the whole project, hold permissions on the objects of each bucket in it: the one reads and creates, the other one also replaces and deletes.
# The state says everything about a deployment, and who may write it decides what the next apply does. A deny policy would need a role on an
# organisation, which many projects do not have, and Google extends the two roles, so that a copy of them without storage would break one day: the
# bucket lies in another project, where none of our accounts has a role.
# Sources: https://cloud.google.com/iam/docs/roles-permissions/composer, https://cloud.google.com/iam/docs/roles-permissions/dataflow,
# https://cloud.google.com/iam/docs/deny-access#required-roles
data "google_project" "this" {
  project_id = var.project
}

data "google_storage_bucket" "state" {
  name = var.bucket

  lifecycle {
    postcondition {
      condition     = tostring(self.project_number) != tostring(data.google_project.this.number)
      error_message = "The state lies in ${var.project}, where Composer and the workers can read and replace it. Move it to a bucket of another project: see infra/README.md."
    }
  }
}
