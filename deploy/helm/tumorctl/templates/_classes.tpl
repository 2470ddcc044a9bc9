{{/*
The Deployments to make: one per GPU class, or one for the CPU where there are no classes. YAML of {classes: [...]}, each
with name, fullname, replicas, gpu (bool) and, for a GPU, what gpuClasses[] says of it.
*/}}
{{- define "tumorctl.classes" -}}
{{- $root := . }}
{{- $classes := list }}
{{- range .Values.gpuClasses }}
{{- $full := printf "%s-%s" (include "tumorctl.fullname" $root) .name }}
{{- $class := merge (dict "gpu" true "fullname" $full) . (dict "replicas" $root.Values.replicas "count" 1 "resource" "nvidia.com/gpu") }}
{{- $classes = append $classes $class }}
{{- end }}
{{- if not $classes }}
{{- $full := printf "%s-cpu" (include "tumorctl.fullname" .) }}
{{- $classes = list (dict "name" "cpu" "fullname" $full "gpu" false "replicas" .Values.replicas) }}
{{- end }}
{{- dict "classes" $classes | toYaml }}
{{- end }}

{{/* Labels that select one class's server pods. Arguments: list ROOT CLASS. */}}
{{- define "tumorctl.classLabels" -}}
{{ include "tumorctl.serverLabels" (first .) }}
tumorctl/class: {{ (last .).name }}
{{- end }}

{{/* Where a pod of a class may run: placement common to all, then the class's own. Arguments: list ROOT CLASS. */}}
{{- define "tumorctl.placement" -}}
{{- $root := first . }}
{{- $class := last . }}
{{- with $root.Values.scheduling.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with (default $root.Values.scheduling.runtimeClassName $class.runtimeClassName) }}
runtimeClassName: {{ . }}
{{- end }}
{{- with (merge (deepCopy (default dict $class.nodeSelector)) $root.Values.scheduling.nodeSelector) }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with (concat $root.Values.scheduling.tolerations (default list $class.tolerations)) }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $class.products }}
affinity:
  nodeAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      nodeSelectorTerms:
        - matchExpressions:
            - key: nvidia.com/gpu.product
              operator: In
              values:
                {{- toYaml . | nindent 16 }}
{{- end }}
{{- end }}
