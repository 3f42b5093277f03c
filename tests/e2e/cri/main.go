// Command cri does what a kubelet does for one Pod of one container, and says as JSON how far it came: it pulls the
// image, runs a Pod on the host's network, runs the container in it to its end, and removes all it made.
//
//	cri --socket /run/containerd/containerd.sock --handler wasmtime --image 127.0.0.1:5000/hello:1 -- /hello.wasm a b
//
// What follows -- is the container's command, which a Pod may leave out. It exits with 0 where the engine answered,
// whatever it answered; the answer is in the JSON.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Outcome says how a Pod went. Step is the last thing that was asked for: pull, sandbox, create, start, wait, or done;
// where it is not done, Error is what the engine said.
type Outcome struct {
	Runtime string `json:"runtime"`
	Step    string `json:"step"`
	Error   string `json:"error,omitempty"`
	Image   string `json:"image,omitempty"`
	Status  *int32 `json:"status,omitempty"`
	Log     string `json:"log"`
}

type words []string

func (words *words) String() string { return "" }

func (words *words) Set(text string) error {
	*words = append(*words, text)
	return nil
}

type annotations map[string]string

func (each annotations) String() string { return "" }

func (each annotations) Set(text string) error {
	key, value, found := strings.Cut(text, "=")
	if !found {
		return fmt.Errorf("%q is not KEY=VALUE", text)
	}
	each[key] = value
	return nil
}

func main() {
	socket := flag.String("socket", "", "where the engine listens")
	handler := flag.String("handler", "", "the runtime handler, as a RuntimeClass names it")
	image := flag.String("image", "", "the image")
	name := flag.String("name", "pod", "the Pod's name, which no other Pod has")
	seconds := flag.Duration("timeout", time.Minute, "how long all of it may take")
	wanted, args := annotations{}, words{}
	flag.Var(&args, "arg", "an argument of the container, after its command or the image's entrypoint")
	flag.Var(wanted, "annotation", "an annotation of the Pod, KEY=VALUE")
	flag.Parse()

	connection, err := grpc.NewClient("unix://"+*socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), *seconds)
	defer cancel()
	pod := &pod{
		runtime: cri.NewRuntimeServiceClient(connection),
		images:  cri.NewImageServiceClient(connection),
		handler: *handler,
		image:   &cri.ImageSpec{Image: *image, UserSpecifiedImage: *image, RuntimeHandler: *handler},
		command: flag.Args(),
		args:    args,
	}
	logs, err := os.MkdirTemp("", "pod-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	defer os.RemoveAll(logs)
	pod.config = &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: *name, Uid: *name, Namespace: "default"},
		LogDirectory: logs,
		Annotations:  wanted,
		Linux: &cri.LinuxPodSandboxConfig{SecurityContext: &cri.LinuxSandboxSecurityContext{
			NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE},
		}},
	}
	outcome := Outcome{Step: "version"}
	if err := pod.run(ctx, &outcome); err != nil {
		outcome.Error = err.Error()
	} else {
		outcome.Step = "done"
	}
	outcome.Log = spoken(filepath.Join(logs, "log"))
	pod.remove()
	if err := json.NewEncoder(os.Stdout).Encode(outcome); err != nil {
		os.Exit(1)
	}
}

type pod struct {
	runtime   cri.RuntimeServiceClient
	images    cri.ImageServiceClient
	handler   string
	image     *cri.ImageSpec
	command   []string
	args      []string
	config    *cri.PodSandboxConfig
	sandbox   string
	container string
}

func (pod *pod) run(ctx context.Context, outcome *Outcome) error {
	version, err := pod.runtime.Version(ctx, &cri.VersionRequest{})
	if err != nil {
		return err
	}
	outcome.Runtime = version.RuntimeName + " " + version.RuntimeVersion

	outcome.Step = "pull"
	pulled, err := pod.images.PullImage(ctx, &cri.PullImageRequest{Image: pod.image, SandboxConfig: pod.config})
	if err != nil {
		return err
	}
	outcome.Image = pulled.ImageRef

	outcome.Step = "sandbox"
	sandbox, err := pod.runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: pod.config, RuntimeHandler: pod.handler})
	if err != nil {
		return err
	}
	pod.sandbox = sandbox.PodSandboxId

	// A kubelet creates a container from the reference that the pull answered with.
	outcome.Step = "create"
	created, err := pod.runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId:  pod.sandbox,
		SandboxConfig: pod.config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: "program"},
			Image:    &cri.ImageSpec{Image: pulled.ImageRef, UserSpecifiedImage: pod.image.Image, RuntimeHandler: pod.handler},
			Command:  pod.command,
			Args:     pod.args,
			LogPath:  "log",
			Linux:    &cri.LinuxContainerConfig{},
		},
	})
	if err != nil {
		return err
	}
	pod.container = created.ContainerId

	outcome.Step = "start"
	if _, err := pod.runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: pod.container}); err != nil {
		return err
	}

	outcome.Step = "wait"
	for {
		status, err := pod.runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: pod.container})
		if err != nil {
			return err
		}
		if status.Status.State == cri.ContainerState_CONTAINER_EXITED {
			outcome.Status = &status.Status.ExitCode
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// remove takes back what was made, also where the time for the rest is over. The image goes too, so that the next Pod
// pulls it again.
func (pod *pod) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	var failures []error
	if pod.container != "" {
		_, err := pod.runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: pod.container})
		failures = append(failures, err)
	}
	if pod.sandbox != "" {
		_, err := pod.runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: pod.sandbox})
		failures = append(failures, err)
		_, err = pod.runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: pod.sandbox})
		failures = append(failures, err)
	}
	_, err := pod.images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: pod.image})
	for _, err := range append(failures, err) {
		if err != nil {
			fmt.Fprintln(os.Stderr, "not removed:", err)
		}
	}
}

// spoken is what a container wrote, out of CRI's log: a time, a stream, F or P (the line goes on), and the text.
func spoken(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	var text strings.Builder
	for line := range strings.Lines(string(data)) {
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(fields) < 4 {
			continue
		}
		text.WriteString(fields[3])
		if fields[2] == "F" {
			text.WriteByte('\n')
		}
	}
	return text.String()
}
