{{- define "cilium.preflight.podLabels" -}}
app.kubernetes.io/name: cilium-pre-flight-check
{{ include "cilium.partOf" . }}
{{- with .Values.preflight.podLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* The scheduling of preflight depends on its own values, not on those of the release: (list $ priority). */}}
{{- define "cilium.preflight.podSpec" -}}
{{- $root := index . 0 -}}
{{- $preflight := $root.Values.preflight -}}
hostNetwork: true
restartPolicy: Always
{{- include "cilium.hostUsers" $root }}
priorityClassName: {{ $preflight.priorityClassName | default (index . 1) }}
serviceAccountName: {{ $root.Values.serviceAccounts.preflight.name }}
automountServiceAccountToken: {{ $root.Values.serviceAccounts.preflight.automount }}
terminationGracePeriodSeconds: {{ $preflight.terminationGracePeriodSeconds }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $preflight.podSecurityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $preflight.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $preflight.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $preflight.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- /* The fields of every preflight container: (list $ image). */}}
{{- define "cilium.preflight.container" -}}
image: {{ include "cilium.image" (rest .) | quote }}
imagePullPolicy: {{ (index . 1).pullPolicy }}
terminationMessagePolicy: FallbackToLogsOnError
{{- end }}

{{- /* Ready as soon as the image is pulled; ends after an hour. */}}
{{- define "cilium.preflight.pulled" -}}
command: [/bin/sh]
args: [-c, touch /tmp/ready && sleep 1h]
livenessProbe:
  exec: {command: [cat, /tmp/ready]}
  initialDelaySeconds: 5
  periodSeconds: 5
readinessProbe:
  exec: {command: [cat, /tmp/ready]}
  initialDelaySeconds: {{ .Values.preflight.readinessProbe.initialDelaySeconds }}
  periodSeconds: {{ .Values.preflight.readinessProbe.periodSeconds }}
{{- with .Values.preflight.securityContext }}
securityContext: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.preflight.resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
