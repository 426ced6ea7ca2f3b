// Reads a JSON list of Prometheus-operator resources from stdin; throws for the first that breaks its published schema.
import * as models from "@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1";

let input = "";
for await (const chunk of process.stdin) input += chunk;
for (const resource of JSON.parse(input)) new models[resource.kind](resource).validate();
