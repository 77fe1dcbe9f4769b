{{/* The objects of a file of deploy/, in the release's namespace and with the labels that kustomize gives them:
     a dict of `chart` and `file`. */}}
{{- define "cellwall.objects" -}}
{{- $namespace := .chart.Release.Namespace }}
{{- $text := .chart.Files.Get .file | required (printf "%s is not in the chart" .file) }}
{{- range splitList "\n---\n" ($text | replace "cellwall-system" $namespace) }}
{{- $object := fromYaml . }}
{{- $labels := dict "app.kubernetes.io/part-of" "cellwall" }}
{{- $_ := set $object.metadata "labels" (merge $labels ($object.metadata.labels | default dict)) }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
