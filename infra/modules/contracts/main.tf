# The tables as the contracts describe them. This module makes nothing: it reads sql/<dataset>/<table>/contract.yaml as
# coinbeam.contracts does, and tests/infra compares the two.

locals {
  files     = fileset(var.folder, "*/*/contract.yaml")
  documents = { for file in local.files : join(".", slice(split("/", file), 0, 2)) => yamldecode(file("${var.folder}/${file}")) }

  properties = {
    for name, document in local.documents : name => {
      for property in try(document.schema[0].customProperties, []) : property.property => jsonencode(property.value)
    }
  }

  freshness = {
    for name, document in local.documents : name => [
      for promise in try(document.slaProperties, []) : promise.value if promise.property == "freshness"
    ]
  }

  keys = {
    for name, document in local.documents : name => {
      for column in document.schema[0].properties : format("%06d", column.primaryKeyPosition) => column.name if try(column.primaryKey, false)
    }
  }

  described = {
    for name, document in local.documents : name => {
      dataset     = split(".", name)[0]
      name        = split(".", name)[1]
      is_view     = document.schema[0].physicalType == "view"
      description = trimspace(document.schema[0].description)
      labels      = { owner = document.team.name, contract_version = replace(document.version, ".", "-") }
      clustering  = try(jsondecode(local.properties[name].clustering), [])
      partition_column = one([
        for column in document.schema[0].properties : column.name if try(column.partitioned, false)
      ])
      partition_granularity = upper(try(jsondecode(local.properties[name].partitionGranularity), "day"))
      primary_key           = values(local.keys[name])
      freshness_hours       = try(local.freshness[name][0], null)
      columns = [
        for column in document.schema[0].properties : {
          name = column.name
          type = column.physicalType
          mode = try(column.required, false) ? "REQUIRED" : "NULLABLE"
          description = format(
            "%s. Unit: %s",
            trimspace(column.description),
            one([for property in column.customProperties : tostring(property.value) if property.property == "unit"]),
          )
        }
      ]
    }
  }
}
