# What a pod may take is known, and its memory is reserved.
package microtome.limits

import data.microtome.objects
import rego.v1

deny contains sprintf("%s: no %s of %s", [c.name, what, resource]) if {
	some c in objects.containers
	some [what, resource] in [["requests", "cpu"], ["requests", "memory"], ["limits", "memory"]]
	not c.container.resources[what][resource]
}

deny contains sprintf("%s: less memory is reserved than it may take", [c.name]) if {
	some c in objects.containers
	c.container.resources.requests.memory != c.container.resources.limits.memory
}
