# Nothing runs as root.
package microtome.users

import data.microtome.objects
import rego.v1

deny contains sprintf("%s: runAsNonRoot is not true", [c.name]) if {
	some c in objects.containers
	not setting(c, "runAsNonRoot") == true
}

deny contains sprintf("%s: runAsUser is not 10000 or more", [c.name]) if {
	some c in objects.containers
	not setting(c, "runAsUser") >= 10000
}

setting(c, key) := object.get(own, key, object.get(whole, key, null)) if {
	own := object.get(c.container, "securityContext", {})
	whole := object.get(c.pod.spec, "securityContext", {})
}
