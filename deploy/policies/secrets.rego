# Nothing secret lies among the settings.
package microtome.secrets

import data.microtome.objects
import rego.v1

secret := `(password|secret|token|access_key|database_url)`

deny contains sprintf("%s: the value of %s", [c.name, env.name]) if {
	some c in objects.containers
	some env in c.container.env
	regex.match(secret, lower(env.name))
	env.value
}

deny contains sprintf("%s: the value of %s", [objects.name(o), key]) if {
	some o in input
	o.kind == "ConfigMap"
	some key, _ in o.data
	regex.match(secret, lower(key))
}
