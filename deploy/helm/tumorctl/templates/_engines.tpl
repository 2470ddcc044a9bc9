{{/* What engines are kept under, as arguments of models.py. Arguments: list ROOT CLASS. */}}
{{- define "tumorctl.engineArgs" -}}
{{- $root := first . }}
{{- $class := last . }}
- --engines=/engines
- --engine-class={{ $class.name }}
- --built-by={{ include "tumorctl.image" (list $root $root.Values.images.engineBuilder) }} sm {{ $class.computeCapability }}
{{- end }}

{{/*
Containers that make engines and keep them, in a Job or in the server's own pod. The first starts nothing where the
engines are kept already.
*/}}
{{- define "tumorctl.buildContainer" -}}
{{- $root := first . }}
{{- $class := last . }}
{{- $v := $root.Values -}}
# Builds on the GPU that will serve, and compares each engine with ONNX Runtime.
- name: build
  image: {{ include "tumorctl.image" (list $root $v.images.engineBuilder) }}
  imagePullPolicy: {{ $v.images.engineBuilder.pullPolicy }}
  command: [python3, -B, /scripts/models.py, build]
  args:
    - --source=/models
    {{- include "tumorctl.engineArgs" (list $root $class) | trim | nindent 4 }}
    - --
    - tumorctl
    - export
    - tensorrt
    - --repository=/models
    - --triton-release={{ $v.engines.tritonRelease }}
    - --phantoms
    {{- with $v.engines.job.extraArgs }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  env:
    {{- include "tumorctl.environment" $root | nindent 4 }}
  resources:
    requests:
      cpu: {{ $v.engines.job.cpuRequest | quote }}
      memory: {{ $v.engines.job.memoryMi }}Mi
      {{ $class.resource }}: {{ $class.count }}
    limits:
      memory: {{ $v.engines.job.memoryMi }}Mi
      {{ $class.resource }}: {{ $class.count }}
  securityContext:
    {{- include "tumorctl.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /models
    - name: scripts
      mountPath: /scripts
      readOnly: true
    - name: engines
      mountPath: /engines
      readOnly: true
    - name: tmp
      mountPath: /tmp
{{- end }}

{{- define "tumorctl.publishContainer" -}}
{{- $root := first . }}
{{- $class := last . }}
{{- $v := $root.Values -}}
- name: publish
  image: {{ include "tumorctl.image" (list $root $v.images.server) }}
  imagePullPolicy: {{ $v.images.server.pullPolicy }}
  command: [python3, -B, /scripts/models.py, publish]
  args:
    - --source=/models
    {{- include "tumorctl.engineArgs" (list $root $class) | trim | nindent 4 }}
  resources:
    {{- include "tumorctl.smallResources" $root | nindent 4 }}
  securityContext:
    {{- include "tumorctl.containerSecurity" $root | nindent 4 }}
  volumeMounts:
    - name: models
      mountPath: /models
      readOnly: true
    - name: scripts
      mountPath: /scripts
      readOnly: true
    - name: engines
      mountPath: /engines
{{- end }}
