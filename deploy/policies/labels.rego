# What belongs together can be found, and of which version it is.
package microtome.labels

import data.microtome.objects
import rego.v1

wanted := {"app.kubernetes.io/name", "app.kubernetes.io/part-of", "app.kubernetes.io/version"}

deny contains sprintf("%s: no label %s", [objects.name(o), key]) if {
	some o in input
	some key in wanted
	not o.metadata.labels[key]
}

deny contains sprintf("%s: no label %s", [pod.name, key]) if {
	some pod in objects.pods
	not pod.labels["dask.org/cluster-name"]
	some key in wanted | {"app.kubernetes.io/component"}
	not pod.labels[key]
}
