# Nodes can be drained without an end of the service.
package microtome.disruption

import data.microtome.objects
import rego.v1

deny contains sprintf("%s: no PodDisruptionBudget", [objects.name(o)]) if {
	some o in input
	o.kind == "Deployment"
	not kept(o.spec.template.metadata.labels)
}

deny contains sprintf("%s: it lets no pod go", [objects.name(o)]) if {
	some o in input
	o.kind == "PodDisruptionBudget"
	o.spec.maxUnavailable == 0
}

kept(labels) if {
	some o in input
	o.kind == "PodDisruptionBudget"
	objects.selects(o.spec.selector, labels)
}
