{{/* The chart's name, for labels. */}}
{{- define "tumorctl.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{/* Prefix of every object's name; holds the release's name. Short enough to leave room for suffixes. */}}
{{- define "tumorctl.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains (include "tumorctl.name" .) .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "tumorctl.name" .) | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{/* Labels that select this release's pods of any kind. */}}
{{- define "tumorctl.selectorLabels" -}}
app.kubernetes.io/name: {{ include "tumorctl.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* Labels of every object. */}}
{{- define "tumorctl.labels" -}}
{{ include "tumorctl.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Labels that select the server pods alone. */}}
{{- define "tumorctl.serverLabels" -}}
{{ include "tumorctl.selectorLabels" . }}
app.kubernetes.io/component: server
{{- end }}

{{/* An image's reference; a digest wins over the tag. Arguments: list ROOT IMAGE. */}}
{{- define "tumorctl.image" -}}
{{- if ne (len .) 2 }}{{ fail "tumorctl.image takes the root and an image" }}{{ end }}
{{- $root := first . }}
{{- $image := last . }}
{{- if $image.digest }}
{{- printf "%s@%s" $image.repository $image.digest }}
{{- else }}
{{- printf "%s:%s" $image.repository (default $root.Chart.AppVersion $image.tag) }}
{{- end }}
{{- end }}

{{- define "tumorctl.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "tumorctl.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "tumorctl.adminSecretName" -}}
{{- default (printf "%s-admin" (include "tumorctl.fullname" .)) .Values.adminKey.existingSecret }}
{{- end }}

{{- define "tumorctl.enginesClaim" -}}
{{- default (printf "%s-engines" (include "tumorctl.fullname" .)) .Values.engines.volume.existingClaim }}
{{- end }}

{{/* Whether an object of an optional API is rendered: the cluster has it, or it is forced. Arguments: list ROOT API. */}}
{{- define "tumorctl.hasApi" -}}
{{- $root := first . }}
{{- if or $root.Values.monitoring.force ($root.Capabilities.APIVersions.Has (last .)) }}true{{ end }}
{{- end }}
