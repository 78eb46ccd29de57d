import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Base64;

import org.springframework.beans.factory.annotation.Value;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.SpringBootConfiguration;
import org.springframework.boot.autoconfigure.EnableAutoConfiguration;
import org.springframework.context.annotation.Bean;
import org.springframework.http.MediaType;
import org.springframework.security.config.Customizer;
import org.springframework.security.config.annotation.web.builders.HttpSecurity;
import org.springframework.security.core.Authentication;
import org.springframework.security.core.annotation.AuthenticationPrincipal;
import org.springframework.security.oauth2.client.ClientAuthorizationException;
import org.springframework.security.oauth2.client.OAuth2AuthorizationContext;
import org.springframework.security.oauth2.client.OAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.RefreshTokenOAuth2AuthorizedClientProvider;
import org.springframework.security.oauth2.client.annotation.RegisteredOAuth2AuthorizedClient;
import org.springframework.security.oauth2.client.registration.ClientRegistration;
import org.springframework.security.oauth2.core.oidc.user.OidcUser;
import org.springframework.security.web.SecurityFilterChain;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/**
 * A relying party of Spring Security. Arguments: --server.address, --server.port, --api and the properties
 * of Spring for the client registration durward. GET /start signs the user in, calls the API,
 * and refreshes and revokes the tokens.
 */
@SpringBootConfiguration
@EnableAutoConfiguration
@RestController
public class Client {
	@Value("${api}")
	String api;

	private final HttpClient http = HttpClient.newHttpClient();

	public static void main(String[] args) {
		SpringApplication.run(Client.class, args);
	}

	@Bean
	SecurityFilterChain pages(HttpSecurity security) throws Exception {
		return security
			.authorizeHttpRequests(r -> r.anyRequest().authenticated())
			.oauth2Login(Customizer.withDefaults())
			.build();
	}

	/** Uses all that the library offers, and returns a line for each step. */
	@GetMapping(path = "/start", produces = MediaType.TEXT_PLAIN_VALUE)
	String start(@AuthenticationPrincipal OidcUser user, Authentication authentication,
			@RegisteredOAuth2AuthorizedClient("durward") OAuth2AuthorizedClient client)
			throws IOException, InterruptedException {
		StringBuilder lines = new StringBuilder("signed in " + user.getSubject() + "\nuserinfo "
			+ user.getUserInfo().getEmail() + "\napi " + get(api, client).body().strip());

		RefreshTokenOAuth2AuthorizedClientProvider provider = new RefreshTokenOAuth2AuthorizedClientProvider();
		provider.setClockSkew(Duration.ofDays(1)); // so the token counts as expired
		OAuth2AuthorizedClient next = refresh(provider, client, authentication);
		if (next.getAccessToken().getTokenValue().equals(client.getAccessToken().getTokenValue())) {
			lines.append("\nthe access token is the old one");
		}
		lines.append("\nrefreshed, api " + get(api, next).body().strip());

		// Spring Security has no function for the revocation.
		ClientRegistration registration = next.getClientRegistration();
		String endpoint = registration.getProviderDetails().getConfigurationMetadata().get("revocation_endpoint").toString();
		String basic = registration.getClientId() + ":" + registration.getClientSecret();
		HttpRequest revoke = HttpRequest.newBuilder(URI.create(endpoint))
			.header("Authorization", "Basic " + Base64.getEncoder().encodeToString(basic.getBytes(StandardCharsets.UTF_8)))
			.header("Content-Type", "application/x-www-form-urlencoded")
			.POST(HttpRequest.BodyPublishers.ofString("token=" + next.getRefreshToken().getTokenValue()))
			.build();
		int status = http.send(revoke, HttpResponse.BodyHandlers.discarding()).statusCode();
		lines.append(status == 200 ? "\nrevoked" : "\nrevocation: " + status);
		try {
			refresh(provider, next, authentication);
			lines.append("\nrefresh: done");
		} catch (ClientAuthorizationException e) {
			lines.append("\nrefresh: " + e.getError().getErrorCode());
		}
		HttpResponse<String> refused = get(registration.getProviderDetails().getUserInfoEndpoint().getUri(), next);
		String challenge = refused.headers().firstValue("WWW-Authenticate").orElse("");
		lines.append("\nuserinfo: " + (challenge.contains("error=\"invalid_token\"") ? "invalid_token" : refused));
		return lines.append("\n").toString();
	}

	private static OAuth2AuthorizedClient refresh(RefreshTokenOAuth2AuthorizedClientProvider provider,
			OAuth2AuthorizedClient client, Authentication authentication) {
		return provider.authorize(OAuth2AuthorizationContext.withAuthorizedClient(client).principal(authentication).build());
	}

	private HttpResponse<String> get(String url, OAuth2AuthorizedClient client) throws IOException, InterruptedException {
		HttpRequest request = HttpRequest.newBuilder(URI.create(url))
			.header("Authorization", "Bearer " + client.getAccessToken().getTokenValue())
			.build();
		return http.send(request, HttpResponse.BodyHandlers.ofString());
	}
}
