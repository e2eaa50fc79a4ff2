# What runs is of a version.
package microtome.images

import data.microtome.objects
import rego.v1

deny contains sprintf("%s: image %s is of no version", [c.name, c.container.image]) if {
	some c in objects.containers
	not regex.match(`(:[0-9]+\.[0-9]+\.[0-9]+[^/]*|@sha256:[0-9a-f]{64})$`, c.container.image)
}
