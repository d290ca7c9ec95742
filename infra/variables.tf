variable "project" {
  type        = string
  description = "Id of the Google Cloud project. It exists and has billing; Terraform does not make it."

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "profile" {
  type        = string
  description = "What runs the pipeline: composer (Airflow in Composer, jobs on Dataflow), or small (both in one Cloud Run job). docs/costs.md prices both."
  default     = "composer"

  validation {
    condition     = contains(["composer", "small"], var.profile)
    error_message = "The profile is composer or small."
  }

  validation {
    condition     = var.profile == "composer" || var.stream == null
    error_message = "Live trades need a streaming job on Dataflow, which the small profile does not have."
  }
}

variable "small" {
  type = object({
    memory = optional(string, "2Gi")
    inbox  = optional(bool, false)
  })
  description = "The job of the small profile: its memory, and whether a file below inbox/ of the bucket starts it."
  default     = {}

  validation {
    condition     = can(regex("^[2-4]Gi$", var.small.memory))
    error_message = "The job has 2Gi to 4Gi: the whole market needs 2Gi, and one processor has 4Gi at most."
  }
}

variable "region" {
  type        = string
  description = "Region of Composer, Dataflow, Cloud Build, the registry and the network."
  default     = "us-central1"

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region looks like us-central1."
  }
}

variable "location" {
  type        = string
  description = "Location of the datasets and the data bucket; loads need both in one place. The setting google.location says the same."
  default     = "US"

  validation {
    condition     = can(regex("^(US|EU|[a-z]+-[a-z]+[0-9]+)$", var.location))
    error_message = "A location is US, EU or a region."
  }
}

variable "budget" {
  type = object({
    billing_account = string
    amount          = number
    currency        = optional(string, "USD")
  })
  description = <<-TEXT
    What a month may cost before somebody is told; null: no budget. Whoever applies it is an administrator of the billing account
    (roles/billing.costsManager there), and `currency` is that of the account, or the API refuses. docs/costs.md estimates what is normal.
  TEXT
  default     = null

  validation {
    condition     = var.budget == null ? true : can(regex("^[0-9A-F]{6}-[0-9A-F]{6}-[0-9A-F]{6}$", var.budget.billing_account))
    error_message = "A billing account looks like 012345-6789AB-CDEF01."
  }

  validation {
    condition     = var.budget == null ? true : var.budget.amount >= 1 && floor(var.budget.amount) == var.budget.amount
    error_message = "The budget is a whole number of units of the currency."
  }

  validation {
    condition     = var.budget == null ? true : can(regex("^[A-Z]{3}$", var.budget.currency))
    error_message = "A currency has three capital letters, such as USD."
  }
}

variable "state_bucket" {
  type        = string
  description = "Bucket of the Terraform state, as in backend.hcl, in another project than this one; null: <project>-terraform-state."
  default     = null
}

variable "alert_email" {
  type        = string
  description = "Address that alerts and budget warnings go to."

  validation {
    condition     = can(regex("^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$", var.alert_email))
    error_message = "This is no e-mail address."
  }
}

variable "reader_group" {
  type        = string
  description = "Google group of the analysts, who may query the marts and nothing else; null: only the reader account may."
  default     = null

  validation {
    condition     = var.reader_group == null || can(regex("^[^@[:space:]]+@[^@[:space:]]+[.][^@[:space:]]+$", var.reader_group))
    error_message = "A group is named by its e-mail address."
  }
}

variable "airflow_users" {
  type        = list(string)
  description = "IAM members who may open the Airflow UI and trigger runs, e.g. group:operators@example.com."
  default     = []

  validation {
    condition     = alltrue([for member in var.airflow_users : can(regex("^(user|group|serviceAccount):", member))])
    error_message = "Members begin with user:, group: or serviceAccount:; allUsers and domains are refused."
  }
}

variable "github" {
  type = object({
    owner    = string
    name     = string
    id       = number
    owner_id = number
  })
  default     = null
  description = "Repository that deploys; null: a person submits releases. Workload Identity lets it in by its numbers, which GitHub gives once and never to another one: `gh api repos/OWNER/NAME --jq '.id, .owner.id'`."

  validation {
    condition     = var.github == null ? true : can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", "${var.github.owner}/${var.github.name}"))
    error_message = "Owner and name are those of a GitHub repository."
  }

  validation {
    condition     = var.github == null ? true : alltrue([for id in [var.github.id, var.github.owner_id] : id >= 1 && floor(id) == id])
    error_message = "id and owner_id are the numbers that GitHub gave to the repository and to its owner."
  }
}

variable "image_version" {
  type        = string
  description = "Composer image. Its Airflow is what the DAGs are tested with."
  default     = "composer-3-airflow-3.3.1-build.0"

  validation {
    condition     = can(regex("^composer-3-airflow-3[.][0-9]+[.][0-9]+-build[.][0-9]+$", var.image_version))
    error_message = "Composer 3 with Airflow 3, pinned to a build."
  }
}

variable "composer_requirements" {
  type        = string
  description = "Package list of Composer, relative to this folder: one pinned requirement a line."
  default     = "../config/composer-requirements.txt"
}

variable "contracts" {
  type        = string
  description = "Folder of the table contracts, relative to this folder."
  default     = "../sql"
}

variable "schedule_period" {
  type        = string
  description = "How often a snapshot is taken, the same as the setting market.period; the freshness check runs as often."
  default     = "daily"

  validation {
    condition     = contains(["daily", "hourly"], var.schedule_period)
    error_message = "The period is daily or hourly."
  }
}

variable "coingecko_plan" {
  type        = string
  description = "Plan of the CoinGecko key: its calls a month bound every run. A key of another plan answers with errors."
  default     = "analyst"

  validation {
    condition     = contains(["keyless", "demo", "basic", "analyst"], var.coingecko_plan)
    error_message = "The plan is keyless, demo, basic or analyst."
  }
}

variable "network_range" {
  type        = string
  description = "Address range of the subnetwork of Composer and the Dataflow workers."
  default     = "10.20.0.0/22"

  validation {
    condition     = can(cidrhost(var.network_range, 0)) && can(regex("/(1[6-9]|2[0-4])$", var.network_range))
    error_message = "A private IPv4 range between /16 and /24."
  }
}

variable "log_retention_days" {
  type        = number
  description = "Days that the logs of the pipeline are kept."
  default     = 90

  validation {
    condition     = var.log_retention_days >= 1 && var.log_retention_days <= 3650
    error_message = "Cloud Logging keeps logs for 1 to 3650 days."
  }
}

variable "scan_images" {
  type        = bool
  description = "Whether each image that is pushed is scanned for known holes; null: in the profile composer, and not in small. docs/costs.md says what that costs."
  default     = null
}

variable "deploys_from" {
  type        = string
  description = "Who starts a release of main: the trigger of Cloud Build, or the deploy job of GitHub Actions."
  default     = "actions"

  validation {
    condition     = contains(["trigger", "actions"], var.deploys_from)
    error_message = "Releases start from trigger or actions."
  }

  validation {
    condition     = var.deploys_from != "trigger" || var.github != null
    error_message = "A trigger watches a repository: say which in github."
  }
}

variable "stream" {
  type = object({
    release = string
  })
  description = "The live trades; null: there are none. release is the one whose image the publisher runs, until another one is applied."
  default     = null

  validation {
    condition     = var.stream == null ? true : can(regex("^[a-z0-9][a-z0-9-]*$", var.stream.release))
    error_message = "A release is named by lower-case letters, digits and hyphens, such as a short commit."
  }
}

variable "serving" {
  type = object({
    release       = string
    invokers      = optional(list(string), [])
    viewers       = optional(list(string), [])
    public        = optional(bool, false)
    sign_in       = optional(string, "iap")
    oidc_secret   = optional(string)
    max_instances = optional(number, 2)
    memory        = optional(string, "2Gi")
  })
  description = <<-TEXT
    The API and the dashboard on Cloud Run; null: neither. `release` is one whose image was pushed, `invokers` may call the API, `viewers` may open
    the dashboard. Nobody may by default. `public` allows allUsers among them: a person says so, who has read CoinGecko's API terms, since those
    limit who may be given its data. With `sign_in` oidc the dashboard asks a provider by itself, by the secrets.toml in the secret `oidc_secret`.
  TEXT
  default     = null

  validation {
    condition     = var.serving == null ? true : can(regex("^[a-z0-9][a-z0-9-]{0,40}$", var.serving.release))
    error_message = "A release is named by its short commit."
  }

  validation {
    condition = var.serving == null ? true : alltrue([
      for member in concat(var.serving.invokers, var.serving.viewers) :
      can(regex("^(user|group|serviceAccount):", member)) || (var.serving.public && can(regex("^allUsers$", member)))
    ])
    error_message = "Members begin with user:, group: or serviceAccount:. allUsers needs public = true, by a person who has read CoinGecko's API terms."
  }

  validation {
    condition     = var.serving == null ? true : var.serving.sign_in != "iap" || !anytrue([for member in var.serving.viewers : can(regex("^allUsers$", member))])
    error_message = "Behind Identity-Aware Proxy the viewers are named; allUsers would switch it off."
  }

  validation {
    condition     = var.serving == null ? true : contains(["iap", "oidc"], var.serving.sign_in) && (var.serving.sign_in == "oidc") == (var.serving.oidc_secret != null)
    error_message = "The sign-in is iap, or oidc with the id of the secret that holds Streamlit's secrets.toml."
  }

  validation {
    condition     = var.serving == null ? true : var.serving.max_instances >= 1 && floor(var.serving.max_instances) == var.serving.max_instances
    error_message = "Each service may have one instance or more."
  }

  validation {
    condition     = var.serving == null ? true : can(regex("^[1-8]Gi$", var.serving.memory))
    error_message = "An instance has 1Gi to 8Gi."
  }
}
