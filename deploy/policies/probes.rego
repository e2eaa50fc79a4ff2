# A service is asked whether it lives and whether it is ready, which are two questions, and is given
# time to end.
package microtome.probes

import data.microtome.objects
import rego.v1

served contains {"name": sprintf("%s, container %s", [objects.name(o), c.name]), "container": c} if {
	some o in input
	o.kind == "Deployment"
	some c in o.spec.template.spec.containers
}

deny contains sprintf("%s: no %s", [c.name, probe]) if {
	some c in served
	some probe in ["livenessProbe", "readinessProbe", "startupProbe"]
	not c.container[probe]
}

deny contains sprintf("%s: it is ended where it is only not ready", [c.name]) if {
	some c in served
	c.container.livenessProbe.httpGet == c.container.readinessProbe.httpGet
}

deny contains sprintf("%s: no preStop", [c.name]) if {
	some c in served
	not c.container.lifecycle.preStop
}
