{{- define "sluice.labels" -}}
app.kubernetes.io/part-of: sluice
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* What finds the pods of a part: (dict "root" $ "part" "control"). */}}
{{- define "sluice.selector" -}}
app.kubernetes.io/name: sluice-{{ .part }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{/* A reference: (dict "root" $ "image" .Values.control.image). */}}
{{- define "sluice.image" -}}
{{- $registry := .root.Values.image.registry | trimSuffix "/" -}}
{{- $name := .image.repository -}}
{{- if $registry }}{{ $name = printf "%s/%s" $registry $name }}{{ end -}}
{{- if .image.digest -}}
{{ $name }}@{{ .image.digest }}
{{- else -}}
{{ $name }}:{{ .image.tag | default .root.Values.image.tag | default .root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/*
The images that a sidecar may have: the chart's, those that the values add, and
the one before this upgrade, which replicas that are on their way out still
inject. `lookup` finds nothing in `helm template`.
*/}}
{{- define "sluice.gateway.images" -}}
{{- $images := list (include "sluice.image" (dict "root" . "image" .Values.gateway.image)) -}}
{{- with lookup "v1" "ConfigMap" .Release.Namespace "sluice-injection" -}}
{{- with get (get (.data | default dict) "settings.json" | default "{}" | fromJson) "image" -}}
{{- $images = append $images . -}}
{{- end -}}
{{- end -}}
{{- concat $images .Values.gateway.otherImages | uniq | join "," -}}
{{- end }}

{{/* What the control plane injects; the fields of InjectionSettings. */}}
{{- define "sluice.settings" -}}
{{- $at := printf "%s.svc" .Release.Namespace -}}
{{- $settings := dict
  "version" .Chart.AppVersion
  "image" (include "sluice.image" (dict "root" . "image" .Values.gateway.image))
  "control" (printf "https://sluice-control.%s:8444" $at)
  "collector" (ternary (printf "https://sluice-collector.%s:8445" $at) "" .Values.collector.enabled)
  "trustDomain" .Values.trustDomain
  "trailSize" .Values.gateway.trailSize
  "javaTrustStore" .Values.gateway.javaTrustStore
  "log" .Values.gateway.log
  "resources" .Values.gateway.resources
  "initResources" .Values.gateway.initResources
-}}
{{- with .Values.image.pullPolicy }}{{ $_ := set $settings "imagePullPolicy" . }}{{ end -}}
{{- toPrettyJson $settings -}}
{{- end }}

{{/* A generated file, with the chart's labels and the release's namespace. */}}
{{- define "sluice.generated" -}}
{{- $labels := printf "\nmetadata:\n  labels:\n%s\n  name:" (include "sluice.labels" .root | indent 4) -}}
{{- .text
  | replace "\nmetadata:\n  name:" $labels
  | replace "namespace: sluice-system" (printf "namespace: %s" .root.Release.Namespace)
  | replace "'sluice-system'" (printf "'%s'" .root.Release.Namespace)
  | replace "kubectl -n sluice-system" (printf "kubectl -n %s" .root.Release.Namespace)
-}}
{{- end }}

{{/* Where a pod of ours runs: (dict "root" $ "part" "control"). */}}
{{- define "sluice.scheduling" -}}
{{- $values := get .root.Values .part -}}
{{- with .root.Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- end }}

{{/* Pods of ours run as nobody in particular, and their volumes are theirs. */}}
{{- define "sluice.pod.security" -}}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "sluice.container.security" -}}
securityContext:
  allowPrivilegeEscalation: false
  capabilities: {drop: [ALL]}
  readOnlyRootFilesystem: true
{{- end }}

{{/* Ports 8080: /readyz, /healthz. The first start waits for certificates. */}}
{{- define "sluice.probes" -}}
startupProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 1
  timeoutSeconds: 3
  failureThreshold: 120
readinessProbe:
  httpGet: {path: /readyz, port: health}
  periodSeconds: 3
  timeoutSeconds: 3
  failureThreshold: 2
livenessProbe:
  httpGet: {path: /healthz, port: health}
  periodSeconds: 10
  timeoutSeconds: 3
  failureThreshold: 3
{{- end }}
